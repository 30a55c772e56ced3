-- Gives back what a request holds, and what it took from the rates. If it holds nothing, and was not ended before, its
-- admission is still on its way, and takes nothing when it comes.
--
-- KEYS  1 tenant   2 the mark of the request
-- ARGV  1 packed: now_ms, tokens it took; the rate of requests and that of tokens: limit (0 where there is none),
--         period_ms, burst; the epoch of its admission, 0 if it may have been sent more than once, or was not heard of; for
--         how many ms it is marked, if it has to be
--       2 request   3 … windows
-- Answers 1 if there was a hold, else 0.

local hold_field = 'h:' .. ARGV[2]
local now, taken, request_limit, request_period, request_burst, token_limit, token_period, token_burst, admitted_in, kept_ms =
  struct.unpack('<dddddddddd', ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 's', hold_field, unpack(ARGV, 3))
local hold = kept[2]
local request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known =
  struct.unpack(STATE, kept[1] or NEW)
if hold and struct.unpack('<d', hold) < 0 then return 0 end
if epoch ~= admitted_in then mark(now, kept_ms) end
if not hold then return 0 end
redis.call('HDEL', KEYS[1], hold_field)
request_ms, request_ticks = correct(request_limit, request_period, request_burst, request_ms, request_ticks, now, -1)
token_ms, token_ticks =
  correct(token_limit, token_period, token_burst, token_ms, token_ticks, now, -math.min(taken, token_burst))
open = math.max(0, open - 1)
local write, last = charged(kept, hold, 0, 0, 0)
local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known)
redis.call('HSET', KEYS[1], 's', state, unpack(write, 1, last))
return 1
