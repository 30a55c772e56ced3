-- Gives back what a request holds, and what it took from the rates. If it holds nothing, its admission is still on its
-- way, and takes nothing when it comes.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 packed: now_ms, tokens it took; the rate of requests and that of tokens: limit (0 where there is none),
--         period_ms, burst
--       2 request   3 for how many ms it is remembered that this is done   4 … windows
-- Answers 1 if there was a hold, else 0.

local hold_field = 'h:' .. ARGV[2]
local now, taken, request_limit, request_period, _, token_limit, token_period, token_burst =
  struct.unpack('<dddddddd', ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 's', hold_field, unpack(ARGV, 4))
local hold = kept[2]
if hold and struct.unpack('<d', hold) < 0 then return 0 end
redis.call('SET', KEYS[2], 'r', 'PX', ARGV[3], 'NX')
if not hold then return 0 end
local request_ms, request_ticks, token_ms, token_ticks, open, due, known = struct.unpack(STATE, kept[1])
redis.call('HDEL', KEYS[1], hold_field)
request_ms, request_ticks = correct(request_limit, request_period, request_ms, request_ticks, now, -1)
token_ms, token_ticks = correct(token_limit, token_period, token_ms, token_ticks, now, -math.min(taken, token_burst))
local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, math.max(0, open - 1), due, known)
local write, last = charged(kept, hold, 0, 0, 0)
redis.call('HSET', KEYS[1], 's', state, unpack(write, 1, last))
return 1
