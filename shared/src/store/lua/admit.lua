-- Admits a request: checks every limit and takes from all of them, or from none (M1). See ADR 9, 10 and 16.
--
-- KEYS  1 tenant   2 the request's tombstone   3 the remembered answer, if the mode is LOOK: 15 digits of Unix ms when it
--       expires, 16 characters of cache version, the answer
-- ARGV  1 request   2 ASK   3 RATE of requests   4 RATE of tokens   5 AMOUNTS of the hold   6 AMOUNTS of its upper bound
--       7 the windows as text, as a hold keeps them
--       8 … of each window its field, then AMOUNTS that are its limits, infinite where there is none
-- Returns an ANSWER; then the cache version; then "\nrequest requests tokens nusd windows" of each hold that expired.

local BEGUN_KEPT_MS = 60000   -- for how long a tenant that is begun waits to be rebuilt
local COUNTED_KEPT_MS = 60000 -- for how long it is remembered that a hit is counted
local now_ms, settings_version, mode, lease_until_ms, concurrency, rate_tokens = struct.unpack(ASK, ARGV[2])

-- What is known of the tenant.
local hold_field, count = 'hold:' .. ARGV[1], (#ARGV - 7) / 2
local fields = {'state', 'cache_version', 'tombstones_until', hold_field}
for i = 1, count do fields[4 + i] = ARGV[6 + 2 * i] end
local kept, expired = redis.call('HMGET', KEYS[1], unpack(fields)), ''
local state = read_state(kept[1])
if state[SWEEP_AT_MS] <= now_ms then
  expired = sweep(now_ms)
  kept = redis.call('HMGET', KEYS[1], unpack(fields))
  state = read_state(kept[1])
end
local cache_version, tombstones_until, hold = kept[2] or '', kept[3] or 0, kept[4]

local function reply(answer)
  return pack_answer(answer, state) .. cache_version .. expired
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
if not is_hit and state[OPEN_HOLDS] >= concurrency then return reply({verdict = TOO_MANY_IN_FLIGHT}) end
local taken, limits = {1, 0, 0}, {}
for i = 1, count do limits[i] = {struct.unpack(AMOUNTS, ARGV[7 + 2 * i])} end
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

-- The rates.
local wait_ms, request_ms, request_ticks = take(ARGV[3], state[REQUEST_MS], state[REQUEST_TICKS], now_ms, 1)
local token_wait_ms, token_ms, token_ticks = false, state[TOKEN_MS], state[TOKEN_TICKS]
if not is_hit then token_wait_ms, token_ms, token_ticks = take(ARGV[4], token_ms, token_ticks, now_ms, rate_tokens) end
if wait_ms or token_wait_ms then
  -- Nothing is taken; but what a clock that was set back has left would be as far off at the next look.
  local old_request_ms, old_token_ms = state[REQUEST_MS], state[TOKEN_MS]
  if wait_ms then
    state[REQUEST_MS], state[REQUEST_TICKS] = request_ms, request_ticks
  else
    state[TOKEN_MS], state[TOKEN_TICKS] = token_ms, token_ticks
  end
  if state[REQUEST_MS] ~= old_request_ms or state[TOKEN_MS] ~= old_token_ms then
    redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8)))
  end
  return reply({verdict = RATE_LIMITED, which = wait_ms and 1 or 2, wait_ms = wait_ms or token_wait_ms})
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
