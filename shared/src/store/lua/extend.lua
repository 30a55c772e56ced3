-- Raises a hold where it is less than a target, if the quotas have that much left.
--
-- KEYS  1 tenant
-- ARGV  1 packed: the target, then the most for each window, infinite where nothing is limited: requests, tokens,
--         nano-US-dollar each
--       2 request   3 … windows
-- Answers 1 if the hold covers the target now, else 0.

local id, count = ARGV[2], #ARGV - 2
local kept = redis.call('HMGET', KEYS[1], 'h:' .. id, unpack(ARGV, 3))
if not kept[1] then return 0 end
local hold = hold_of(kept[1])
local target, windows, limits, more, write = {struct.unpack('<ddd', ARGV[1])}, {}, {}, {}, {}
for i = 1, count do
  windows[i] = window_of(kept[1 + i]) or {0, 0, 0, 0, 0, 0}
  limits[i] = {struct.unpack('<ddd', ARGV[1], 1 + 24 * i)}
end
for unit = 1, 3 do more[unit] = math.max(0, target[unit] - hold[1 + unit]) end
if exhausted(windows, limits, more) then return 0 end
for unit = 1, 3 do hold[1 + unit] = plus(hold[1 + unit], more[unit]) end
for i = 1, count do
  if kept[1 + i] then
    for unit = 1, 3 do windows[i][3 + unit] = plus(windows[i][3 + unit], more[unit]) end
    write[#write + 1] = ARGV[2 + i]
    write[#write + 1] = packed_window(windows[i])
  end
end
local raised = struct.pack(HOLD, unpack(hold)) .. string.sub(kept[1], 33)
redis.call('HSET', KEYS[1], 'h:' .. id, raised, unpack(write))
return 1
