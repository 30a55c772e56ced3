-- Admits a request: checks every limit and takes from all of them, or from none (M1). See ADR 9, 10 and 16.
--
-- KEYS  1 tenant   2 the request's tombstone   3 the remembered answer, if the mode is LOOK: 15 digits of Unix ms when it
--       expires, 16 characters of cache version, the answer
-- ARGV  1 request   2 ASK   3 RATE of requests   4 RATE of tokens   5 AMOUNTS of the hold   6 AMOUNTS of its upper bound
--       7 the windows as text, and the key's lineage, as a hold keeps them   8 the limits of the key (key.lua), or nothing
--       9 … of each window its field, then AMOUNTS that are its limits, infinite where there is none
-- Returns an ANSWER; then KEY_RATES, if the key has limits of its own; then the cache version; then "\nrequest requests tokens nusd windows" of each hold that expired.

local BEGUN_KEPT_MS = 60000   -- for how long a tenant that is begun waits to be rebuilt
local COUNTED_KEPT_MS = 60000 -- for how long it is remembered that a hit is counted
local now_ms, settings_version, mode, lease_until_ms, concurrency, rate_tokens = struct.unpack(ASK, ARGV[2])

-- What is known of the tenant.
local hold_field, count = 'hold:' .. ARGV[1], (#ARGV - 8) / 2
local fields = {'state', 'cache_version', 'tombstones_until', hold_field}
for i = 1, count do fields[4 + i] = ARGV[7 + 2 * i] end
local kept, expired = redis.call('HMGET', KEYS[1], unpack(fields)), ''
local state = read_state(kept[1])
if state[SWEEP_AT_MS] <= now_ms then
  expired = sweep(now_ms)
  kept = redis.call('HMGET', KEYS[1], unpack(fields))
  state = read_state(kept[1])
end
local cache_version, tombstones_until, hold = kept[2] or '', kept[3] or 0, kept[4]

local paces = ARGV[8] ~= '' and key_paces()
local key = paces and paces.of(ARGV[8])

local function reply(answer)
  local key_rates = key and struct.pack(KEY_RATES, unpack(key, 1, 4)) or ''
  return pack_answer(answer, state) .. key_rates .. cache_version .. expired
end

-- A repetition is answered with what the request holds, or takes nothing any more.
if hold then
  local lease, requests, tokens, cost_nusd = struct.unpack(HOLD, hold)
  if lease < 0 then return reply({verdict = ADMITTED}) end
  return reply({verdict = ADMITTED, requests = requests, tokens = tokens, cost_nusd = cost_nusd})
end
if mode ~= MISS or tonumber(tombstones_until) > now_ms then
  local tombstone = redis.call('GET', KEYS[2])
  if tombstone then return reply({verdict = ADMITTED, is_hit = tombstone == 'hit' and 1 or 0}) end
end

-- What the store lacks comes first.
local windows, missing, closed_until = {}, 0, 0
for i = 1, count do
  if kept[4 + i] then
    windows[i] = {struct.unpack(WINDOW, kept[4 + i])}
  else
    missing = missing + 2 ^ (i - 1)
    closed_until = math.max(closed_until, tonumber(redis.call('HGET', KEYS[1], 'closed:' .. fields[4 + i]) or 0))
  end
end
if closed_until > now_ms then return reply({verdict = CLOSED, wait_ms = closed_until - now_ms}) end
local is_outdated = state[SETTINGS_VERSION] ~= settings_version
if is_outdated or missing > 0 then
  if not kept[1] then
    -- A tenant that was lost is begun anew, before anybody reads the ledger for it: no other beginning has this number, not
    -- one by a copy of this call.
    local seed = ARGV[1] .. table.concat(redis.call('TIME'), '.')
    state[INCARNATION] = tonumber(string.sub(redis.sha1hex(seed), 1, 13), 16)
    redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8)))
    keep_for(BEGUN_KEPT_MS)
  end
  return reply({verdict = STALE, which = is_outdated and 1 or 0, windows = missing})
end

-- What is to be taken. A hit counts one request and holds nothing (M7).
local is_hit = mode == HIT
if mode == LOOK then
  local head = redis.call('GETRANGE', KEYS[3], '0', '30')
  is_hit = #head == 31 and cache_version ~= '' and string.sub(head, 16) == cache_version
    and tonumber(string.sub(head, 1, 15)) > now_ms
end
local taken, limits = {1, 0, 0}, {}
for i = 1, count do limits[i] = {struct.unpack(AMOUNTS, ARGV[8 + 2 * i])} end
if not is_hit then
  -- The calibrated hold, or the one that cannot be exceeded where less than ten times as much is left (M3).
  local estimate = {struct.unpack(AMOUNTS, ARGV[5])}
  taken = estimate
  for i, window in ipairs(windows) do
    for unit = TOKENS, COST_NUSD do
      local left = limits[i][unit] - window[USED + unit] - window[HELD + unit]
      if estimate[unit] > 0 and left < estimate[unit] * 10 then taken = {struct.unpack(AMOUNTS, ARGV[6])} end
    end
  end
end

-- Places in flight and rates: the tenant's, then its key's own.
local request_ms, request_ticks, token_ms, token_ticks, key_request_ms, key_request_ticks, key_token_ms, key_token_ticks
for whose = 1, key and 2 or 1 do
  local pace, open_holds, most, request_rate, token_rate = state, state[OPEN_HOLDS], concurrency, ARGV[3], ARGV[4]
  if whose == 2 then
    pace, open_holds, most, request_rate, token_rate =
      key, key[KEY_OPEN_HOLDS], key.number, key.request_rate, key.token_rate
  end
  if not is_hit and open_holds >= most then return reply({verdict = TOO_MANY_IN_FLIGHT, which = whose - 1}) end
  local old_request_ms, old_token_ms = pace[REQUEST_MS], pace[TOKEN_MS]
  local wait_ms, new_request_ms, new_request_ticks = take(request_rate, old_request_ms, pace[REQUEST_TICKS], now_ms, 1)
  local token_wait_ms, new_token_ms, new_token_ticks = false, old_token_ms, pace[TOKEN_TICKS]
  if not is_hit then
    token_wait_ms, new_token_ms, new_token_ticks = take(token_rate, old_token_ms, new_token_ticks, now_ms, rate_tokens)
  end
  if wait_ms or token_wait_ms then
    -- Nothing is taken; but what a clock that was set back has left would be as far off at the next look.
    if wait_ms then
      pace[REQUEST_MS], pace[REQUEST_TICKS] = new_request_ms, new_request_ticks
    else
      pace[TOKEN_MS], pace[TOKEN_TICKS] = new_token_ms, new_token_ticks
    end
    if pace[REQUEST_MS] ~= old_request_ms or pace[TOKEN_MS] ~= old_token_ms then
      if pace == key then paces.write(key) else redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8))) end
    end
    local which = (wait_ms and 1 or 2) + 2 * (whose - 1)
    return reply({verdict = RATE_LIMITED, which = which, wait_ms = wait_ms or token_wait_ms})
  end
  if whose == 1 then
    request_ms, request_ticks, token_ms, token_ticks = new_request_ms, new_request_ticks, new_token_ms, new_token_ticks
  else
    key_request_ms, key_request_ticks, key_token_ms, key_token_ticks =
      new_request_ms, new_request_ticks, new_token_ms, new_token_ticks
  end
end

-- The quotas; what is taken of a window is written if all let it pass.
local write, part = {'state', ''}, is_hit and USED or HELD
for i, window in ipairs(windows) do
  for unit = REQUESTS, COST_NUSD do
    local more = taken[unit]
    if more > 0 and window[USED + unit] + window[HELD + unit] + more > limits[i][unit] then
      return reply({verdict = QUOTA_EXCEEDED, which = unit, windows = i})
    end
    local sum = window[part + unit] + more
    window[part + unit] = sum < MOST and sum or MOST
  end
  write[1 + 2 * i], write[2 + 2 * i] = fields[4 + i], struct.pack(WINDOW, unpack(window, 1, 6))
end

-- All limits let it pass.
state[REQUEST_MS], state[REQUEST_TICKS], state[TOKEN_MS], state[TOKEN_TICKS] =
  request_ms, request_ticks, token_ms, token_ticks
if key then
  key[REQUEST_MS], key[REQUEST_TICKS], key[TOKEN_MS], key[TOKEN_TICKS] =
    key_request_ms, key_request_ticks, key_token_ms, key_token_ticks
  if not is_hit then key[KEY_OPEN_HOLDS] = key[KEY_OPEN_HOLDS] + 1 end
  paces.write(key)
end
local answer = {verdict = ADMITTED, is_hit = 1}
if is_hit then
  redis.call('SET', KEYS[2], 'hit', 'PX', COUNTED_KEPT_MS)
else
  local requests, tokens, cost_nusd = unpack(taken, 1, 3)
  answer = {verdict = ADMITTED, requests = requests, tokens = tokens, cost_nusd = cost_nusd}
  state[OPEN_HOLDS], state[SWEEP_AT_MS] = state[OPEN_HOLDS] + 1, math.min(state[SWEEP_AT_MS], lease_until_ms)
  write[#write + 1] = hold_field
  write[#write + 1] = struct.pack(HOLD, lease_until_ms, requests, tokens, cost_nusd) .. ARGV[7]
end
write[2] = struct.pack(STATE, unpack(state, 1, 8))
redis.call('HSET', KEYS[1], unpack(write))
return reply(answer)
