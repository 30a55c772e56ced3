-- Frees the place in flight of a request whose client has gone, while what it holds stays.
--
-- KEYS  1 tenant
-- ARGV  1 request
-- Returns 1 if it had one, else 0.

local hold_field = 'hold:' .. ARGV[1]
local kept = redis.call('HMGET', KEYS[1], 'state', hold_field)
if not kept[1] or not kept[2] then return 0 end
local state, hold = read_state(kept[1]), {struct.unpack(HOLD, kept[2])}
if not has_place(hold[LEASE_UNTIL_MS]) then return 0 end
local names = string.sub(kept[2], hold[5])
hold[LEASE_UNTIL_MS] = hold[LEASE_UNTIL_MS] + PLACELESS
state[OPEN_HOLDS] = math.max(0, state[OPEN_HOLDS] - 1)
if string.find(names, '/', 1, true) then key_paces().leave(names) end
redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8)),
  hold_field, struct.pack(HOLD, unpack(hold, 1, 4)) .. names)
return 1
