-- Replaces a hold by what was used, once (M2). Where there is no such hold, because it was lost, the windows are charged
-- as well. See ADR 10.
--
-- KEYS  1 tenant   2 the request's tombstone
-- ARGV  1 request   2 ENDING   3 AMOUNTS used   4 RATE of tokens   5 the limits of its key (key.lua), or nothing
--       6 … the windows' fields
-- Returns 2 if the hold was replaced, 1 if there was none, 0 if the request was done with before.

local now_ms, incarnation, tombstone_ms, only_held, token_delta = struct.unpack(ENDING, ARGV[2])
local hold_field = 'hold:' .. ARGV[1]
local kept = redis.call('HMGET', KEYS[1], 'state', hold_field, unpack(ARGV, 6))
local state, hold = read_state(kept[1]), kept[2] and {struct.unpack(HOLD, kept[2])}
local is_of_this_incarnation = state[INCARNATION] == incarnation
if hold and hold[LEASE_UNTIL_MS] < 0 or not hold and is_of_this_incarnation then return 0 end
if not is_of_this_incarnation and not leave_tombstone(now_ms, tombstone_ms) then return 0 end
-- A tenant that the store has lost is not begun anew here: it would pass for known.
if not kept[1] then return 1 end
if ARGV[5] ~= '' then key_paces().correct(ARGV[5], now_ms, 0, hold and has_place(hold[LEASE_UNTIL_MS])) end
if hold then
  redis.call('HDEL', KEYS[1], hold_field)
  if has_place(hold[LEASE_UNTIL_MS]) then state[OPEN_HOLDS] = math.max(0, state[OPEN_HOLDS] - 1) end
end
state[TOKEN_MS], state[TOKEN_TICKS] = correct(ARGV[4], state[TOKEN_MS], state[TOKEN_TICKS], now_ms, token_delta)
local write = {'state', struct.pack(STATE, unpack(state, 1, 8))}
if hold or only_held == 0 then charge(write, kept, hold, {struct.unpack(AMOUNTS, ARGV[3])}) end
redis.call('HSET', KEYS[1], unpack(write))
return hold and 2 or 1
