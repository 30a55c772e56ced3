-- The ledger has recorded a hold whose lease ended: it is handed out no more, and a settlement that comes yet changes
-- nothing. See ADR 10.
--
-- KEYS  1 tenant   2 the request's tombstone
-- ARGV  1 now_ms   2 request   3 for how many ms the tombstone is kept
-- Returns 1.

local hold = redis.call('HGET', KEYS[1], 'hold:' .. ARGV[2])
if hold and struct.unpack(HOLD, hold) < 0 then redis.call('HDEL', KEYS[1], 'hold:' .. ARGV[2]) end
leave_tombstone(tonumber(ARGV[1]), tonumber(ARGV[3]))
return 1
