-- Replaces a hold by what was used, once (M2). Where there is no such hold, because it was lost, the windows are charged
-- as well.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 packed: now_ms; used requests, tokens, nano-US-dollar; the rate of tokens: limit (0 where there is none),
--         period_ms; tokens to take from it, or to give back if there are less than none; 1 if the request is charged only
--         in place of its hold, else 0
--       2 request   3 for how many ms it is remembered that this is done   4 … windows
-- Answers 2 if the hold was replaced, 1 if there was none, 0 if the request was done with before.

local hold_field = 'h:' .. ARGV[2]
local now, requests, tokens, cost, limit, period, more, only_held = struct.unpack('<dddddddd', ARGV[1])
if not redis.call('SET', KEYS[2], 's', 'PX', ARGV[3], 'NX') then return 0 end
local kept = redis.call('HMGET', KEYS[1], 's', hold_field, unpack(ARGV, 4))
-- A tenant that the store has lost is not begun anew here: it would pass for known, and live for ever.
if not kept[1] then return 1 end
local hold, write, last = kept[2], nil, 0
if hold and struct.unpack('<d', hold) < 0 then return 0 end
local request_ms, request_ticks, token_ms, token_ticks, open, due, known = struct.unpack(STATE, kept[1])
if hold then
  redis.call('HDEL', KEYS[1], hold_field)
  if open > 0 then open = open - 1 end
end
token_ms, token_ticks = correct(limit, period, token_ms, token_ticks, now, more)
if hold or only_held == 0 then write, last = charged(kept, hold, requests, tokens, cost) end
local state = struct.pack(STATE, request_ms, request_ticks, token_ms, token_ticks, open, due, known)
redis.call('HSET', KEYS[1], 's', state, unpack(write or {}, 1, last))
return hold and 2 or 1
