-- The ledger has heard of a hold whose lease ended: it is told no more, and a settlement that comes yet changes nothing.
--
-- KEYS  1 tenant   2 the mark of the request
-- ARGV  1 now_ms   2 request   3 for how many ms it is marked
-- Answers 1.

local hold = redis.call('HGET', KEYS[1], 'h:' .. ARGV[2])
if hold and struct.unpack('<d', hold) < 0 then redis.call('HDEL', KEYS[1], 'h:' .. ARGV[2]) end
mark(tonumber(ARGV[1]), tonumber(ARGV[3]))
return 1
