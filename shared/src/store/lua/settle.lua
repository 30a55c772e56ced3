-- Replaces a hold by what was used, once (M2). Where there is no such hold, because it was lost, the windows are charged
-- as well.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 now_ms   2 request   3 … 5 used: requests, tokens, nano-US-dollar
--       6 for how many ms it is remembered that this is done
--       7 … 9 rate of tokens: limit, period_ms, capacity, or '' thrice   10 tokens to take from it, or to give back if < 0
--       11 1 if it is charged only in place of its hold   12 … windows
-- Answers 2 if the hold was replaced, 1 if there was none, 0 if the request was done with before.

local now, id = tonumber(ARGV[1]), ARGV[2]
if not redis.call('SET', KEYS[2], 's', 'PX', ARGV[6], 'NX') then return 0 end
local kept = redis.call('HMGET', KEYS[1], 's', 'h:' .. id, 'x:' .. id, unpack(ARGV, 12))
if kept[3] then return 0 end
local state, hold, used = state_of(kept[1]), nil, {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}
if kept[2] then
  hold = hold_of(kept[2])
  redis.call('HDEL', KEYS[1], 'h:' .. id)
  state[5] = math.max(0, state[5] - 1)
end
-- A tenant that the store has lost is not begun anew here: it would pass for known, and live for ever.
if not kept[1] then return 1 end
local rate, write = rate_at(7), {}
if rate then correct(rate, state, 3, now, tonumber(ARGV[10])) end
if hold or ARGV[11] ~= '1' then write = charged(kept, 4, 12, hold or {0, 0, 0, 0}, used) end
redis.call('HSET', KEYS[1], 's', packed_state(state), unpack(write))
return hold and 2 or 1
