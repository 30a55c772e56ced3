-- Gives back what a request holds, and what it took from the rates. If it holds nothing, its admission is still on its
-- way, and takes nothing when it comes.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 now_ms   2 request   3 for how many ms it is remembered that this is done
--       4 … 6 rate of requests: limit, period_ms, capacity, or '' thrice   7 … 9 rate of tokens   10 tokens it took
--       11 … windows
-- Answers 1 if there was a hold, else 0.

local now, id = tonumber(ARGV[1]), ARGV[2]
local kept = redis.call('HMGET', KEYS[1], 's', 'h:' .. id, 'x:' .. id, unpack(ARGV, 11))
if kept[3] then return 0 end
redis.call('SET', KEYS[2], 'r', 'PX', ARGV[3], 'NX')
if not kept[2] then return 0 end
local state, hold = state_of(kept[1]), hold_of(kept[2])
redis.call('HDEL', KEYS[1], 'h:' .. id)
state[5] = math.max(0, state[5] - 1)
local request_rate, token_rate = rate_at(4), rate_at(7)
if request_rate then correct(request_rate, state, 1, now, -1) end
if token_rate then correct(token_rate, state, 3, now, -math.min(tonumber(ARGV[10]), token_rate[3])) end
redis.call('HSET', KEYS[1], 's', packed_state(state), unpack(charged(kept, 4, 11, hold, {0, 0, 0})))
return 1
