-- Replaces a hold by what was used, once (M2). A window that has no such hold, because it was lost, is charged as well.
--
-- KEYS  1 settings   2 what became of the request   3 … windows
-- ARGV  1 now_ms   2 request   3 … 5 used: requests, tokens, nano-US-dollar
--       6 for how many ms it is remembered that this is done
--       7 … 9 rate of tokens: limit, period_ms, capacity, or '' thrice   10 tokens to take from it, or to give back if < 0
--       11 1 if it is charged only in place of its hold
-- Answers 2 if the hold was replaced, 1 if there was none, 0 if the request was done with before.

local now, id = tonumber(ARGV[1]), ARGV[2]
local windows, used = {}, {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for i = 3, #KEYS do
  windows[i] = read_window(i, id)
  if windows[i] and windows[i].ended then return 0 end
end
local settled = 1
for i = 3, #KEYS do
  local window = windows[i]
  if window then
    if window.hold then
      settled = 2
      local _, held = parse_hold(window.hold)
      replace(window, held, used)
      redis.call('HDEL', KEYS[i], 'h:' .. id)
    elseif ARGV[11] ~= '1' then
      for unit = 1, 3 do window[unit] = plus(window[unit], used[unit]) end
    end
    write_window(i, window)
  end
end
local rate = rate_at(7)
if rate then
  local requests, tokens = read_settings()
  write_tats(requests, correct(rate, tokens, now, tonumber(ARGV[10])))
end
redis.call('SET', KEYS[2], 's', 'PX', ARGV[6])
return settled
