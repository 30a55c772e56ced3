-- Gives back what a request holds, and what it took from the rates. If it holds nothing, its admission is still on its
-- way, and takes nothing when it comes.
--
-- KEYS  1 settings   2 what became of the request   3 … windows
-- ARGV  1 now_ms   2 request   3 for how many ms it is remembered that this is done
--       4 … 6 rate of requests: limit, period_ms, capacity, or '' thrice   7 … 9 rate of tokens   10 tokens it took
-- Answers 1 if there was a hold, else 0.

local now, id, held_any = tonumber(ARGV[1]), ARGV[2], false
for i = 3, #KEYS do
  local window = read_window(i, id)
  if window and window.ended then return 0 end
  if window and window.hold then
    held_any = true
    local _, held = parse_hold(window.hold)
    replace(window, held, {0, 0, 0})
    redis.call('HDEL', KEYS[i], 'h:' .. id)
    write_window(i, window)
  end
end
if held_any then
  local request_rate, token_rate = rate_at(4), rate_at(7)
  if request_rate or token_rate then
    local requests, tokens = read_settings()
    if request_rate then requests = correct(request_rate, requests, now, -1) end
    if token_rate then tokens = correct(token_rate, tokens, now, -math.min(tonumber(ARGV[10]), token_rate[3])) end
    write_tats(requests, tokens)
  end
end
redis.call('SET', KEYS[2], 'r', 'PX', ARGV[3], 'NX')
return held_any and 1 or 0
