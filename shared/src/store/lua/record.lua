-- Records what was observed of one model: the lines of health/mod.rs, welford.rs, breaker.rs and refusals.rs, in their
-- order, on the same IEEE doubles.
--
-- A batch that comes again is recognized, unless four others of the model came in between; where so many come at once, one
-- that counts twice says little.
--
-- KEYS  1 the model
-- ARGV  1 packed: now_ms; for how many ms the model is remembered; tau_ms, consecutive_failures, failure_percent,
--         least_samples, first_open_ms, longest_open_ms, jitter_percent;
--         then of each signal: 0 nothing, 1 answered, 2 failed, 3 cool down or 4 refused; when the attempt began; ttft_ms,
--         cooldown until or the request; ms_per_token or not a number, or the tenant; a random number below 2^53
--       2 the batch, 12 random hexadecimal digits
-- Answers how often the model was written.

local now, kept_ms, tau, most_failures, percent, least_samples, first_open, longest_open, jitter =
  struct.unpack('<ddddddddd', ARGV[1])
local model, batch = read_model(now), ',' .. ARGV[2]
if string.find(model['batches'], batch, 1, true) then return model['times_written'] end
model['batches'] = string.sub(model['batches'] .. batch, -52)
if tau < 1 then tau = 1 end
-- A time to live costs the server as much as a tenth of the rest, and a model that answers is seen often.
local renew = model['times_written'] % 64 == 0

-- Adds `x` to the measure `of`. Functions are made anew at each call, hence it takes all it needs as arguments. What stays as
-- it is is not written.
local function sample(model, of, x, now, tau)
  local W, W2, MEAN, S, T = of .. '.w', of .. '.w2', of .. '.mean', of .. '.s', of .. '.t_ms'
  local last, mean_before, s_before = model[T], model[MEAN], model[S]
  local d = last < now and math.exp((last - now) / tau) or 1
  local w = d * model[W] + 1
  local w2 = d * d * model[W2] + 1
  local delta = x - mean_before
  local mean = mean_before + delta / w
  local s = d * s_before + delta * (x - mean)
  if mean - mean == 0 and s - s == 0 then
    model[W], model[W2] = w, w2
    if mean ~= mean_before then model[MEAN] = mean end
    if s ~= s_before then model[S] = s end
    if last < now then model[T] = now end
  end
end

-- Opens the breaker `of`.
local function open(model, of, now, first_open, longest_open, jitter, random)
  local times = model[of .. '.opened_in_a_row']
  local open_ms = math.min(first_open * 2 ^ math.min(times, 32), longest_open)
  local spread_ms = math.floor(open_ms * math.min(jitter, 100) / 100)
  local until_ms = now + open_ms - spread_ms + random % (spread_ms * 2 + 1)
  if times == 0 then model[of .. '.out_since_ms'] = now end
  model[of .. '.opened_in_a_row'], model[of .. '.open_until_ms'] = times + 1, until_ms
  model[of .. '.probe_until_ms'], model[of .. '.counts_from_ms'], model[of .. '.changed_at_ms'] = 0, until_ms, now
end

-- Closes the breaker `of`.
local function close(model, of, now)
  model[of .. '.opened_in_a_row'], model[of .. '.open_until_ms'], model[of .. '.probe_until_ms'] = 0, 0, 0
  model[of .. '.counts_from_ms'], model[of .. '.changed_at_ms'], model[of .. '.out_since_ms'] = now, now, 0
end

-- The probability of failure by the measure `of`.
local function failure_probability(model, of, now, tau)
  local weight = math.exp(-math.max(0, now - model[of .. '.t_ms']) / tau) * model[of .. '.w']
  return math.min(math.max((model[of .. '.mean'] * weight + 5 * 0.02) / (weight + 5), 0), 0.95)
end

-- Ends the run of failures.
local function end_run(model)
  model['breaker.consecutive_failures'], model['breaker.run_from_ms'], model['breaker.late_answers'] = 0, 0, 0
end

-- Gives back the lease of a probe that said nothing to the breaker `of`.
local function release(model, of, begun)
  if model[of .. '.opened_in_a_row'] > 0 and model[of .. '.counts_from_ms'] == begun then
    model[of .. '.probe_until_ms'] = 0
  end
end

for place = 73, #ARGV[1], 40 do
  local kind, begun, one, other, random = struct.unpack('<ddddd', ARGV[1], place)
  local answered, failed, refused = kind == 1, kind == 2, kind == 4
  renew = renew or not answered
  if answered then
    sample(model, 'ttft_ms', one, now, tau)
    if other == other then sample(model, 'ms_per_token', other, now, tau) end
  end
  if answered or failed then
    local failure, opens = failed and 1 or 0, false
    sample(model, 'failure', failure, now, tau)
    if begun < model['breaker.counts_from_ms'] then
      -- It says nothing of the state that the breaker is in.
    elseif model['breaker.opened_in_a_row'] == 0 then
      local failures, late = model['breaker.consecutive_failures'], model['breaker.late_answers']
      if failed then
        if failures == 0 then model['breaker.run_from_ms'] = begun end
        failures = failures + 1
        model['breaker.consecutive_failures'] = failures
      elseif failures > 0 then
        -- Two answers to calls from before the run take one failure off it, one to a call that began within ends it.
        late = late + 1
        model['breaker.late_answers'] = late
        if begun >= model['breaker.run_from_ms'] or late >= 2 * failures then end_run(model) end
      end
      sample(model, 'breaker.evidence', failure, now, tau)
      if failed then
        local w, w2 = model['breaker.evidence.w'], model['breaker.evidence.w2']
        local p = failure_probability(model, 'breaker.evidence', now, tau)
        opens = failures >= most_failures + math.floor(late / 2)
          or w > 0 and w * w / w2 >= least_samples and p * 100 > percent
      end
    elseif failed then
      opens = true
    else
      close(model, 'breaker', now)
      end_run(model)
      for _, sum in ipairs({'w', 'w2', 'mean', 's', 't_ms'}) do model['breaker.evidence.' .. sum] = 0 end
    end
    if opens then open(model, 'breaker', now, first_open, longest_open, jitter, random) end
  else
    if kind == 3 then
      model['cooldown_until_ms'], model['cooled_at_ms'] = math.max(model['cooldown_until_ms'], one), now
    end
    release(model, 'breaker', begun)
  end
  if refused then
    if begun >= model['refusals.counts_from_ms'] then
      local latest, earlier, tenant = model['refusals.latest'], model['refusals.earlier'], model['refusals.tenant']
      local closed = model['refusals.opened_in_a_row'] == 0
      -- Open for one tenant, it opens for the others by three requests of theirs, not by one.
      local elsewhere = not closed and tenant ~= 0 and tenant ~= other
      local first, opens = closed and latest == 0, not closed and not elsewhere
      if latest ~= one and earlier ~= one then
        opens = opens or earlier > 0
        model['refusals.latest'], model['refusals.earlier'] = one, latest
      end
      if first then
        model['refusals.tenant'], model['refusals.run_from_ms'], model['refusals.late_answers'] = other, begun, 0
      elseif tenant ~= other and (opens or closed) then
        model['refusals.tenant'] = 0
        if elsewhere then model['refusals.out_since_ms'] = now end
      end
      if opens then
        model['refusals.latest'], model['refusals.earlier'] = 0, 0
        model['refusals.run_from_ms'], model['refusals.late_answers'] = 0, 0
        open(model, 'refusals', now, first_open, longest_open, jitter, random)
      end
    end
  elseif not answered then
    release(model, 'refusals', begun)
  elseif model['refusals.opened_in_a_row'] > 0 then
    if begun >= model['refusals.counts_from_ms'] then
      close(model, 'refusals', now)
      model['refusals.tenant'] = 0
    end
  elseif model['refusals.latest'] > 0 then
    -- Sixteen answers to calls from before the run end it, or one to a call that began within it.
    local late = model['refusals.late_answers'] + 1
    model['refusals.late_answers'] = late
    if begun >= model['refusals.run_from_ms'] or late >= 16 then
      model['refusals.latest'], model['refusals.earlier'], model['refusals.tenant'] = 0, 0, 0
      model['refusals.run_from_ms'], model['refusals.late_answers'] = 0, 0
    end
  end
  -- Whether it is well, as tenants may know.
  if (failed or kind == 3) and model['unwell_since_ms'] == 0 then
    model['unwell_since_ms'] = now
  elseif answered and model['unwell_since_ms'] > 0 and model['breaker.opened_in_a_row'] == 0
    and model['cooldown_until_ms'] <= now and failure_probability(model, 'failure', now, tau) * 100 <= 10 then
    model['unwell_since_ms'], model['well_since_ms'] = 0, now
  end
end

write_model(model)
if renew then redis.call('PEXPIRE', KEYS[1], kept_ms) end
return model['times_written']
