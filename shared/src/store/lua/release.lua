-- Gives back what a request holds, and what it took from the rates. If it holds nothing, its admission is still on its
-- way, and takes nothing when it comes.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 packed: now_ms, tokens it took; the rate of requests and that of tokens: limit (0 where there is none),
--         period_ms, capacity
--       2 request   3 for how many ms it is remembered that this is done   4 … windows
-- Answers 1 if there was a hold, else 0.

local id = ARGV[2]
local now, taken = struct.unpack('<dd', ARGV[1])
local request_rate, token_rate = {struct.unpack('<ddd', ARGV[1], 17)}, {struct.unpack('<ddd', ARGV[1], 41)}
local kept = redis.call('HMGET', KEYS[1], 's', 'h:' .. id, 'x:' .. id, unpack(ARGV, 4))
if kept[3] then return 0 end
redis.call('SET', KEYS[2], 'r', 'PX', ARGV[3], 'NX')
if not kept[2] then return 0 end
local state, hold = state_of(kept[1]), hold_of(kept[2])
redis.call('HDEL', KEYS[1], 'h:' .. id)
state[5] = math.max(0, state[5] - 1)
if request_rate[1] > 0 then correct(request_rate, state, 1, now, -1) end
if token_rate[1] > 0 then correct(token_rate, state, 3, now, -math.min(taken, token_rate[3])) end
redis.call('HSET', KEYS[1], 's', packed_state(state), unpack(charged(kept, hold, {0, 0, 0})))
return 1
