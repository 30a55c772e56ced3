-- Records what was seen of one model: the lines of health/mod.rs, welford.rs, breaker.rs and refusals.rs, in their order,
-- on the same IEEE doubles.
--
-- A batch that comes again is recognized, unless four others of the model came in between; where so many come at once, one
-- that counts twice says little. A key for each batch, or a longer list, would cost more than the rest.
--
-- KEYS  1 the model, packed as model.lua says
-- ARGV  1 packed: now_ms; the batch, a random number above 0 and below 2^53; for how many ms the model is remembered;
--         tau_ms, consecutive_failures, failure_percent, least_samples, first_open_ms, longest_open_ms, jitter_percent;
--         then of each sight: 0 nothing, 1 answered, 2 failed, 3 cool, 4 answered and told late or 5 refused; when the
--         attempt began; ttft_ms, cooldown until or the request; ms_per_token or not a number, or the tenant; a random
--         number below 2^53; when it was seen
-- Answers the model as it is then, packed.

local now, batch, kept_ms, tau, most_failures, percent, least_samples, first_open, longest_open, jitter =
  struct.unpack('<dddddddddd', ARGV[1])
local packed = redis.call('GET', KEYS[1])
if tau < 1 then tau = 1 end
local model = read_model(packed, now)
for place = BATCHES, PLACES do
  if model[place] == batch then return packed end
end
model[WRITTEN] = model[WRITTEN] + 1
model[BATCHES + model[WRITTEN] % 4] = batch
-- To set a time to live costs the server as much as the rest of the command, and a model that answers is seen often.
local renew = model[WRITTEN] % 64 == 1

-- Adds `x`, seen at `at`, to the measure at `of`. Functions are made anew at each call, hence it takes all it needs as
-- arguments.
local function sample(model, of, x, at, tau)
  local last = model[of + 4]
  local d = last < at and math.exp((last - at) / tau) or 1
  local w = d * model[of] + 1
  local w2 = d * d * model[of + 1] + 1
  local delta = x - model[of + 2]
  local mean = model[of + 2] + delta / w
  local s = d * model[of + 3] + delta * (x - mean)
  if mean - mean == 0 and s - s == 0 then
    model[of], model[of + 1], model[of + 2], model[of + 3] = w, w2, mean, s
    if last < at then model[of + 4] = at end
  end
end

-- Opens the breaker at `at`.
local function open(model, at, now, first_open, longest_open, jitter, random)
  local open_ms = math.min(first_open * 2 ^ math.min(model[at + OPENED], 32), longest_open)
  local spread_ms = math.floor(open_ms * math.min(jitter, 100) / 100)
  model[at + OPENED] = model[at + OPENED] + 1
  model[at + OPEN_UNTIL] = now + open_ms - spread_ms + random % (spread_ms * 2 + 1)
  model[at + PROBE_UNTIL], model[at + COUNTS_FROM], model[at + CHANGED] = 0, model[at + OPEN_UNTIL], now
end

-- Closes the breaker at `at`.
local function close(model, at, now)
  model[at + OPENED], model[at + OPEN_UNTIL], model[at + PROBE_UNTIL] = 0, 0, 0
  model[at + COUNTS_FROM], model[at + CHANGED] = now, now
end

-- Gives back the lease of a probe that said nothing to the breaker at `at`.
local function release(model, at, begun)
  if model[at + OPENED] > 0 and model[at + COUNTS_FROM] == begun then model[at + PROBE_UNTIL] = 0 end
end

for place = 81, #ARGV[1], 48 do
  local kind, begun, one, other, random, at = struct.unpack('<dddddd', ARGV[1], place)
  local late, failed, refused = kind == 4, kind == 2, kind == 5
  local answered = kind == 1 or late
  renew = renew or not answered
  if answered then
    sample(model, TTFT, one, at, tau)
    if other == other then sample(model, PER_TOKEN, other, at, tau) end
  end
  if answered or failed then
    local failure, opens = failed and 1 or 0, false
    sample(model, FAILURE, failure, at, tau)
    if begun < model[COUNTS_FROM] then
      -- It says nothing of the state that the breaker is in.
    elseif model[OPENED] == 0 then
      -- Others may have failed since what is told late was seen.
      if not late then model[FAILURES] = failed and model[FAILURES] + 1 or 0 end
      sample(model, EVIDENCE, failure, at, tau)
      if failed then
        local w, w2 = model[EVIDENCE], model[EVIDENCE + 1]
        local weight = math.exp(-math.max(0, now - model[EVIDENCE + 4]) / tau) * w
        local p = (model[EVIDENCE + 2] * weight + 5 * 0.02) / (weight + 5)
        opens = model[FAILURES] >= most_failures
          or w > 0 and w * w / w2 >= least_samples and math.min(math.max(p, 0), 0.95) * 100 > percent
      end
    elseif failed then
      opens = true
    elseif not late then
      close(model, 0, now)
      model[FAILURES] = 0
      for i = EVIDENCE, BATCHES - 1 do model[i] = 0 end
    end
    if opens then open(model, 0, now, first_open, longest_open, jitter, random) end
  else
    if kind == 3 then
      model[COOLDOWN_UNTIL], model[COOLED] = math.max(model[COOLDOWN_UNTIL], one), now
    end
    release(model, 0, begun)
  end
  if refused then
    if begun >= model[REFUSED + COUNTS_FROM] then
      local closed = model[REFUSED + OPENED] == 0
      -- Open for one tenant, it opens for the others by three requests of theirs, not by one.
      local elsewhere = not closed and model[TENANT] ~= 0 and model[TENANT] ~= other
      local first, opens = closed and model[REQUEST] == 0, not closed and not elsewhere
      if model[REQUEST] ~= one and model[EARLIER] ~= one then
        opens = opens or model[EARLIER] > 0
        model[REQUEST], model[EARLIER] = one, model[REQUEST]
      end
      if first then
        model[TENANT] = other
      elseif model[TENANT] ~= other and (opens or closed) then
        model[TENANT] = 0
      end
      if opens then
        model[REQUEST], model[EARLIER] = 0, 0
        open(model, REFUSED, now, first_open, longest_open, jitter, random)
      end
    end
  elseif answered and not late then
    if model[REFUSED + OPENED] == 0 then
      model[REQUEST], model[EARLIER], model[TENANT] = 0, 0, 0
    elseif begun >= model[REFUSED + COUNTS_FROM] then
      close(model, REFUSED, now)
      model[TENANT] = 0
    end
  elseif not answered then
    release(model, REFUSED, begun)
  end
end

packed = struct.pack(MODEL, unpack(model, 1, PLACES))
if renew then
  redis.call('SET', KEYS[1], packed, 'PX', kept_ms)
else
  redis.call('SET', KEYS[1], packed, 'KEEPTTL')
end
return packed
