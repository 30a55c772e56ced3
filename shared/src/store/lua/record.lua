-- Records what was seen of one model: the lines of health/mod.rs, welford.rs and breaker.rs, in their order, on the same
-- IEEE doubles.
--
-- KEYS  1 the model, packed as model.lua says   2 says that this batch is recorded already
-- ARGV  1 packed: now_ms, tau_ms, consecutive_failures, failure_percent, least_samples, first_open_ms, longest_open_ms,
--         jitter_percent; then of each sight: 0 nothing, 1 answered, 2 failed or 3 cool, when the attempt began, ttft_ms or
--         cooldown until, ms_per_token or not a number, a random number below 2^53
--       2 for how many ms the batch, 3 the model is remembered
-- Answers the model as it is then, packed.

local packed = redis.call('GET', KEYS[1])
if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[2]) then return packed end
local now, tau, most_failures, percent, least_samples, first_open, longest_open, jitter =
  struct.unpack('<dddddddd', ARGV[1])
tau = math.max(1, tau)
local model = model_of(packed)

local function decay(of) return math.exp(-math.max(0, now - model[of + 4]) / tau) end

local function is_finite(x) return x - x == 0 end

local function sample(of, x)
  local d = decay(of)
  local w = d * model[of] + 1
  local w2 = d * d * model[of + 1] + 1
  local delta = x - model[of + 2]
  local mean = model[of + 2] + delta / w
  local s = d * model[of + 3] + delta * (x - mean)
  if is_finite(mean) and is_finite(s) then
    model[of], model[of + 1], model[of + 2], model[of + 3] = w, w2, mean, s
    model[of + 4] = math.max(model[of + 4], now)
  end
end

local function too_many_failures()
  if model[FAILURES] >= most_failures then return true end
  local w, w2 = model[EVIDENCE], model[EVIDENCE + 1]
  if w <= 0 or w * w / w2 < least_samples then return false end
  local weight = decay(EVIDENCE) * w
  local p = (model[EVIDENCE + 2] * weight + 5 * 0.02) / (weight + 5)
  return math.min(math.max(p, 0), 0.95) * 100 > percent
end

local function open(random)
  local open_ms = math.min(first_open * 2 ^ math.min(model[OPENED], 32), longest_open)
  local spread_ms = math.floor(open_ms * math.min(jitter, 100) / 100)
  model[OPENED] = model[OPENED] + 1
  model[OPEN_UNTIL] = now + open_ms - spread_ms + random % (spread_ms * 2 + 1)
  model[PROBE_UNTIL], model[COUNTS_FROM] = 0, model[OPEN_UNTIL]
end

local function breaker(failed, begun, random)
  if begun < model[COUNTS_FROM] then return end
  if model[OPENED] > 0 then
    if failed then return open(random) end
    for place = OPENED, PROBE_UNTIL do model[place] = 0 end
    model[COUNTS_FROM] = now
    for place = EVIDENCE, PLACES do model[place] = 0 end
  elseif failed then
    model[FAILURES] = model[FAILURES] + 1
    sample(EVIDENCE, 1)
    if too_many_failures() then open(random) end
  else
    model[FAILURES] = 0
    sample(EVIDENCE, 0)
  end
end

for place = 65, #ARGV[1], 40 do
  local kind, begun, one, other, random = struct.unpack('<ddddd', ARGV[1], place)
  if kind == 1 then
    sample(TTFT, one)
    if other == other then sample(PER_TOKEN, other) end
    sample(FAILURE, 0)
    breaker(false, begun, random)
  elseif kind == 2 then
    sample(FAILURE, 1)
    breaker(true, begun, random)
  else
    if kind == 3 then model[COOLDOWN] = math.max(model[COOLDOWN], one) end
    -- The probe said nothing of the model: its lease is given back.
    if model[OPENED] > 0 and model[COUNTS_FROM] == begun then model[PROBE_UNTIL] = 0 end
  end
end

packed = packed_model(model)
redis.call('SET', KEYS[1], packed, 'PX', ARGV[3])
return packed
