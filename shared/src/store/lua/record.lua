-- Records what was seen of one model: the lines of health/mod.rs, welford.rs and breaker.rs, in their order, on the same
-- IEEE doubles. Floats are stored as text of 17 digits, which is exact.
--
-- KEYS  1 the model's hash. Of each measure (t: time to first token, p: ms per token, f: failure, e: the breaker's
--         evidence) the fields w, w2, m mean, s, at (Unix ms); k times opened in a row, cf consecutive failures, ou open
--         until, pu probe until, from counts from, cd cooldown until
--       2 says that this batch is recorded already
-- ARGV  1 now_ms   2 tau_ms   3 consecutive_failures   4 failure_percent   5 least_samples   6 first_open_ms
--       7 longest_open_ms   8 jitter_percent   9 for how many ms the batch, 10 the model is remembered
--       11 …     for each sight: answered, failed, cool or nothing; when the attempt began; ttft_ms or cooldown until;
--                ms_per_token or ''; a random number below 2^53
-- Answers 1, or 0 if this batch was recorded before.

if not redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[9]) then return 0 end
local now, tau = tonumber(ARGV[1]), math.max(1, tonumber(ARGV[2]))
local kept, fields = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do kept[fields[i]] = tonumber(fields[i + 1]) end

local function welford(name)
  local function of(field) return kept[name .. field] or 0 end
  return {w = of('w'), w2 = of('w2'), m = of('m'), s = of('s'), at = of('at')}
end
local ttft, per_token, failure, evidence = welford('t'), welford('p'), welford('f'), welford('e')
local opened, failures = kept.k or 0, kept.cf or 0
local open_until, probe_until, counts_from, cooldown = kept.ou or 0, kept.pu or 0, kept.from or 0, kept.cd or 0

local function decay(of) return math.exp(-math.max(0, now - of.at) / tau) end

local function is_finite(x) return x - x == 0 end

local function sample(of, x)
  local d = decay(of)
  local w = d * of.w + 1
  local w2 = d * d * of.w2 + 1
  local delta = x - of.m
  local mean = of.m + delta / w
  local s = d * of.s + delta * (x - mean)
  if is_finite(mean) and is_finite(s) then
    of.w, of.w2, of.m, of.s, of.at = w, w2, mean, s, math.max(of.at, now)
  end
end

local function too_many_failures()
  if failures >= tonumber(ARGV[3]) then return true end
  if evidence.w <= 0 or evidence.w * evidence.w / evidence.w2 < tonumber(ARGV[5]) then return false end
  local weight = decay(evidence) * evidence.w
  local p = (evidence.m * weight + 5 * 0.02) / (weight + 5)
  return math.min(math.max(p, 0), 0.95) * 100 > tonumber(ARGV[4])
end

local function open(random)
  local open_ms = math.min(tonumber(ARGV[6]) * 2 ^ math.min(opened, 32), tonumber(ARGV[7]))
  local spread_ms = math.floor(open_ms * math.min(tonumber(ARGV[8]), 100) / 100)
  opened = opened + 1
  open_until = now + open_ms - spread_ms + random % (spread_ms * 2 + 1)
  probe_until, counts_from = 0, open_until
end

local function release_probe(begun)
  if opened > 0 and counts_from == begun then probe_until = 0 end
end

local function breaker(failed, begun, random)
  if begun < counts_from then return end
  if opened > 0 then
    if failed then return open(random) end
    opened, failures, open_until, probe_until, counts_from = 0, 0, 0, 0, now
    evidence = {w = 0, w2 = 0, m = 0, s = 0, at = 0}
  elseif failed then
    failures = failures + 1
    sample(evidence, 1)
    if too_many_failures() then open(random) end
  else
    failures = 0
    sample(evidence, 0)
  end
end

for i = 11, #ARGV, 5 do
  local kind, begun, random = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 4])
  if kind == 'answered' then
    sample(ttft, tonumber(ARGV[i + 2]))
    if ARGV[i + 3] ~= '' then sample(per_token, tonumber(ARGV[i + 3])) end
    sample(failure, 0)
    breaker(false, begun, random)
  elseif kind == 'failed' then
    sample(failure, 1)
    breaker(true, begun, random)
  else
    if kind == 'cool' then cooldown = math.max(cooldown, tonumber(ARGV[i + 2])) end
    release_probe(begun)
  end
end

local write = {'k', opened, 'cf', failures, 'ou', open_until, 'pu', probe_until, 'from', counts_from,
  'cd', cooldown}
for name, of in pairs({t = ttft, p = per_token, f = failure, e = evidence}) do
  for _, field in ipairs({'w', 'w2', 'm', 's'}) do
    write[#write + 1] = name .. field
    write[#write + 1] = string.format('%.17g', of[field])
  end
  write[#write + 1] = name .. 'at'
  write[#write + 1] = of.at
end
redis.call('HSET', KEYS[1], unpack(write))
redis.call('PEXPIRE', KEYS[1], ARGV[10])
return 1
