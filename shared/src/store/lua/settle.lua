-- Replaces a hold by what was used, once (M2). Where there is no such hold, because it was lost, the windows are charged
-- as well.
--
-- KEYS  1 tenant   2 the mark of the request
-- ARGV  1 packed: now_ms; used requests, tokens, nano-US-dollar; the rate of tokens: limit (0 where there is none),
--         period_ms, burst; tokens to take from it, or to give back if there are less than none; 1 if the request is charged only
--         in place of its hold, else 0; the epoch of its admission, 0 if it may have been sent more than once; for how many
--         ms it is marked, if it has to be
--       2 request   3 … windows
-- Answers 2 if the hold was replaced, 1 if there was none, 0 if the request was done with before.

local hold_field = 'h:' .. ARGV[2]
local now, requests, tokens, cost, limit, period, burst, more, only_held, admitted_in, kept_ms =
  struct.unpack('<ddddddddddd', ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 's', hold_field, unpack(ARGV, 3))
local hold, write, last = kept[2], nil, 0
local request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known =
  struct.unpack(STATE, kept[1] or NEW)
if hold and struct.unpack('<d', hold) < 0 or not hold and epoch == admitted_in then return 0 end
if epoch ~= admitted_in and not mark(now, kept_ms) then return 0 end
-- A tenant that the store has lost is not begun anew here: it would pass for known.
if not kept[1] then return 1 end
if hold then
  redis.call('HDEL', KEYS[1], hold_field)
  if open > 0 then open = open - 1 end
end
token_ms, token_ticks = correct(limit, period, burst, token_ms, token_ticks, now, more)
if hold or only_held == 0 then write, last = charged(kept, hold, requests, tokens, cost) end
local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, epoch, open, due, known)
redis.call('HSET', KEYS[1], 's', state, unpack(write or {}, 1, last))
return hold and 2 or 1
