-- Leases the one probe of each breaker of a model that keeps a tenant out, if all of them have theirs to give (A6).
--
-- KEYS  1 the model
-- ARGV  1 now_ms   2 lease_ms   3 the prober, a random number below 2^53   4 the tenant's mark
-- Answers 1 if the prober has the leases, also when it asks twice; else 0.

local now, prober, tenant = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local model, breakers, shut = read_model(now), {'breaker'}, {}
if model['refusals.tenant'] == 0 or model['refusals.tenant'] == tenant then breakers[2] = 'refusals' end
for _, of in ipairs(breakers) do
  if model[of .. '.opened_in_a_row'] > 0 then
    if now < model[of .. '.open_until_ms'] then return 0 end
    if now < model[of .. '.probe_until_ms'] then
      return model['probe_leased_to'] == prober and model[of .. '.counts_from_ms'] == now and 1 or 0
    end
    shut[#shut + 1] = of
  end
end
if #shut == 0 then return 0 end
for _, of in ipairs(shut) do
  model[of .. '.probe_until_ms'] = now + math.max(1, tonumber(ARGV[2]))
  model[of .. '.counts_from_ms'], model[of .. '.changed_at_ms'] = now, now
end
model['probe_leased_to'] = prober
write_model(model)
return 1
