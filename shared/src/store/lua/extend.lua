-- Raises a hold where it is less than a target, if the quotas have that much left (M1). See ADR 7.
--
-- KEYS  1 tenant
-- ARGV  1 request   2 AMOUNTS of the target
--       3 … of each window its field, then AMOUNTS that are its limits, infinite where there is none
-- Returns 1 if the hold covers the target now, else 0.

local hold_field = 'hold:' .. ARGV[1]
local packed = redis.call('HGET', KEYS[1], hold_field)
if not packed then return 0 end
local hold, more, write = {struct.unpack(HOLD, packed)}, {struct.unpack(AMOUNTS, ARGV[2])}, {}
local names = string.sub(packed, hold[5])
if hold[LEASE_UNTIL_MS] < 0 then return 0 end
for unit = REQUESTS, COST_NUSD do
  more[unit] = math.max(more[unit] - hold[LEASE_UNTIL_MS + unit], 0)
  hold[LEASE_UNTIL_MS + unit] = hold[LEASE_UNTIL_MS + unit] + more[unit]
end
for i = 3, #ARGV, 2 do
  local known, limits = redis.call('HGET', KEYS[1], ARGV[i]), {struct.unpack(AMOUNTS, ARGV[i + 1])}
  local window = {struct.unpack(WINDOW, known or string.rep('\0', 48))}
  for unit = REQUESTS, COST_NUSD do
    if more[unit] > 0 and window[USED + unit] + window[HELD + unit] + more[unit] > limits[unit] then return 0 end
    window[HELD + unit] = math.min(window[HELD + unit] + more[unit], MOST)
  end
  if known then
    write[#write + 1] = ARGV[i]
    write[#write + 1] = struct.pack(WINDOW, unpack(window, 1, 6))
  end
end
redis.call('HSET', KEYS[1], hold_field, struct.pack(HOLD, unpack(hold, 1, 4)) .. names, unpack(write))
return 1
