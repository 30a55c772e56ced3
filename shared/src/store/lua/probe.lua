-- Leases the one probe of a model whose breaker is half open (A6).
--
-- KEYS  1 the model's hash, as in record.lua
-- ARGV  1 now_ms   2 lease_ms   3 the prober
-- Answers 1 if the prober has the lease, also when it asks twice; else 0.

local now = tonumber(ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 'k', 'ou', 'pu', 'from', 'prober')
local open_until, probe_until = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if tonumber(kept[1] or 0) == 0 or now < open_until then return 0 end
if now < probe_until then return kept[5] == ARGV[3] and tonumber(kept[4]) == now and 1 or 0 end
redis.call('HSET', KEYS[1], 'pu', now + math.max(1, tonumber(ARGV[2])), 'from', now, 'prober', ARGV[3])
return 1
