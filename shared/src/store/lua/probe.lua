-- Leases the one probe of a model whose breaker is half open (A6).
--
-- KEYS  1 the model, packed as model.lua says
-- ARGV  1 now_ms   2 lease_ms   3 the prober, a random number below 2^53
-- Answers 1 if the prober has the lease, also when it asks twice; else 0.

local now, prober = tonumber(ARGV[1]), tonumber(ARGV[3])
local model = {struct.unpack(MODEL, redis.call('GET', KEYS[1]) or string.rep('\0', BYTES))}
if model[OPENED] == 0 or now < model[OPEN_UNTIL] then return 0 end
if now < model[PROBE_UNTIL] then return model[PROBER] == prober and model[COUNTS_FROM] == now and 1 or 0 end
model[PROBE_UNTIL], model[COUNTS_FROM], model[PROBER] = now + math.max(1, tonumber(ARGV[2])), now, prober
model[WRITTEN] = model[WRITTEN] + 1
redis.call('SET', KEYS[1], struct.pack(MODEL, unpack(model, 1, PLACES)), 'KEEPTTL')
return 1
