-- Leases the one probe of each breaker of a model that keeps a tenant out, if all of them have theirs to give (A6).
--
-- KEYS  1 the model, packed as model.lua says
-- ARGV  1 now_ms   2 lease_ms   3 the prober, a random number below 2^53   4 the tenant's mark
-- Answers 1 if the prober has the leases, also when it asks twice; else 0.

local now, prober = tonumber(ARGV[1]), tonumber(ARGV[3])
local model = read_model(redis.call('GET', KEYS[1]), now)
local concerns = model[TENANT] == 0 or model[TENANT] == tonumber(ARGV[4])
local shut = {}
for at = 0, concerns and REFUSED or 0, REFUSED do
  if model[at + OPENED] > 0 then
    if now < model[at + OPEN_UNTIL] then return 0 end
    if now < model[at + PROBE_UNTIL] then
      return model[PROBER] == prober and model[at + COUNTS_FROM] == now and 1 or 0
    end
    shut[#shut + 1] = at
  end
end
if #shut == 0 then return 0 end
for _, at in ipairs(shut) do
  model[at + PROBE_UNTIL] = now + math.max(1, tonumber(ARGV[2]))
  model[at + COUNTS_FROM], model[at + CHANGED] = now, now
end
model[PROBER], model[WRITTEN] = prober, model[WRITTEN] + 1
redis.call('SET', KEYS[1], struct.pack(MODEL, unpack(model, 1, PLACES)), 'KEEPTTL')
return 1
