-- Gives back what a request holds, and what it took from the rates. If it holds nothing, and was not ended before, its
-- admission is still on its way, and takes nothing when it comes (M2). See ADR 10.
--
-- KEYS  1 tenant   2 the request's tombstone
-- ARGV  1 request   2 ENDING   3 RATE of requests   4 RATE of tokens   5 the limits of its key (key.lua), or nothing
--       6 … the windows' fields
-- Returns 1 if there was a hold, else 0.

local now_ms, incarnation, tombstone_ms, only_held, token_delta = struct.unpack(ENDING, ARGV[2])
local hold_field = 'hold:' .. ARGV[1]
local kept = redis.call('HMGET', KEYS[1], 'state', hold_field, unpack(ARGV, 6))
local state, hold = read_state(kept[1]), kept[2] and {struct.unpack(HOLD, kept[2])}
if hold and hold[LEASE_UNTIL_MS] < 0 then return 0 end
if state[INCARNATION] ~= incarnation then leave_tombstone(now_ms, tombstone_ms) end
if not hold then return 0 end
redis.call('HDEL', KEYS[1], hold_field)
if ARGV[5] ~= '' then key_paces().correct(ARGV[5], now_ms, -1, has_place(hold[LEASE_UNTIL_MS])) end
state[REQUEST_MS], state[REQUEST_TICKS] = correct(ARGV[3], state[REQUEST_MS], state[REQUEST_TICKS], now_ms, -1)
state[TOKEN_MS], state[TOKEN_TICKS] = correct(ARGV[4], state[TOKEN_MS], state[TOKEN_TICKS], now_ms, token_delta)
if has_place(hold[LEASE_UNTIL_MS]) then state[OPEN_HOLDS] = math.max(0, state[OPEN_HOLDS] - 1) end
local write = {'state', struct.pack(STATE, unpack(state, 1, 8))}
charge(write, kept, hold, {0, 0, 0})
redis.call('HSET', KEYS[1], unpack(write))
return 1
