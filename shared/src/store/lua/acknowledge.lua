-- The ledger has heard of a hold whose lease ended: it is told no more, and a settlement that comes yet changes nothing.
--
-- KEYS  1 tenant   2 what became of the request
-- ARGV  1 request   2 for how many ms it is remembered
-- Answers 1.

local hold = redis.call('HGET', KEYS[1], 'h:' .. ARGV[1])
if hold and struct.unpack('<d', hold) < 0 then redis.call('HDEL', KEYS[1], 'h:' .. ARGV[1]) end
redis.call('SET', KEYS[2], 's', 'PX', ARGV[2])
return 1
