-- Raises a hold where it is less than a target, if the quotas have that much left.
--
-- KEYS  1 tenant
-- ARGV  1 request   2 … 4 target: requests, tokens, nano-US-dollar   5 W, how many windows   6 … their fields
--       6 + W … for each window the most requests, tokens, nano-US-dollar, or ''
-- Answers 1 if the hold covers the target now, else 0.

local id, count = ARGV[1], tonumber(ARGV[5])
local kept = redis.call('HMGET', KEYS[1], 'h:' .. id, unpack(ARGV, 6, 5 + count))
if not kept[1] then return 0 end
local hold, of = hold_of(kept[1])
local windows, more, write = {}, {}, {}
for i = 1, count do windows[i] = window_of(kept[1 + i]) or {0, 0, 0, 0, 0, 0} end
for unit = 1, 3 do more[unit] = math.max(0, tonumber(ARGV[1 + unit]) - hold[1 + unit]) end
if exhausted(windows, 6 + count, more) then return 0 end
for unit = 1, 3 do hold[1 + unit] = plus(hold[1 + unit], more[unit]) end
for i = 1, count do
  if kept[1 + i] then
    for unit = 1, 3 do windows[i][3 + unit] = plus(windows[i][3 + unit], more[unit]) end
    write[#write + 1] = ARGV[5 + i]
    write[#write + 1] = packed_window(windows[i])
  end
end
redis.call('HSET', KEYS[1], 'h:' .. id, packed_hold(hold, of), unpack(write))
return 1
