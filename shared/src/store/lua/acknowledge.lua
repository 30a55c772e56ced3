-- The ledger has heard of a hold whose lease ended: it is told no more, and a settlement that comes yet changes nothing.
--
-- KEYS  1 what became of the request   2 … its windows
-- ARGV  1 request   2 for how many ms it is remembered
-- Answers 1.

for i = 2, #KEYS do redis.call('HDEL', KEYS[i], 'x:' .. ARGV[1]) end
redis.call('SET', KEYS[1], 's', 'PX', ARGV[2])
return 1
