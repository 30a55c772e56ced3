-- Raises a hold where it is less than a target, if the quotas have that much left.
--
-- KEYS  1 tenant
-- ARGV  1 packed: the target, then the most for each window, infinite where nothing is limited: requests, tokens,
--         nano-US-dollar each
--       2 request   3 … windows
-- Answers 1 if the hold covers the target now, else 0.

local hold_field = 'h:' .. ARGV[2]
local kept, write = redis.call('HMGET', KEYS[1], hold_field, unpack(ARGV, 3)), {}
if not kept[1] or struct.unpack('<d', kept[1]) < 0 then return 0 end
local target = {struct.unpack('<ddd', ARGV[1])}
local hold = {struct.unpack('<dddd', kept[1])}
for i = 1, #ARGV - 2 do
  local window = {struct.unpack(WINDOW, kept[1 + i] or string.rep('\0', 48))}
  local most = {struct.unpack('<ddd', ARGV[1], 1 + 24 * i)}
  for unit = 1, 3 do
    local more = math.max(0, target[unit] - hold[1 + unit])
    if more > 0 and window[unit] + window[3 + unit] + more > most[unit] then return 0 end
    window[3 + unit] = math.min(window[3 + unit] + more, MOST)
  end
  if kept[1 + i] then
    write[#write + 1] = ARGV[2 + i]
    write[#write + 1] = struct.pack(WINDOW, unpack(window, 1, 6))
  end
end
for unit = 1, 3 do hold[1 + unit] = math.max(hold[1 + unit], target[unit]) end
local raised = struct.pack('<dddd', unpack(hold, 1, 4)) .. string.sub(kept[1], 33)
redis.call('HSET', KEYS[1], hold_field, raised, unpack(write))
return 1
