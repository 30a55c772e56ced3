-- Learns a tenant's settings version, and what its windows had used according to the ledger. A newer version stays; of a
-- known window only what was admitted without the store, and is not charged yet, is charged. Windows that are long over,
-- and rates of keys that have long been free, are forgotten. A tenant of another incarnation than the one named, or of none,
-- stays as it is: it was lost in between, and what was read for it may lack what it has used since (M5). See ADR 16.
--
-- KEYS  1 tenant
-- ARGV  1 now_ms   2 settings version   3 a cache version, taken if there is none: with the one before, what was remembered
--         is lost to sight   4 the incarnation, or 0: no window that is missing is begun
--       5 for how many ms the tenant is kept at least
--       6 … of each window its field, then AMOUNTS used, then AMOUNTS of it that were admitted without the store
-- Returns 1 if the tenant is of the incarnation, else 0; then "\nrequest requests tokens nusd windows" of each hold that
-- expired.

local FORGET_AFTER_MS, FORGET_PACE_AFTER_MS = 40 * 86400000, 86400000
local now, incarnation, expired = tonumber(ARGV[1]), tonumber(ARGV[4]), ''
local kept = redis.call('HGET', KEYS[1], 'state')
if read_state(kept)[SWEEP_AT_MS] <= now then
  expired = sweep(now)
  kept = redis.call('HGET', KEYS[1], 'state')
end
local state = read_state(kept)
if not kept or incarnation > 0 and state[INCARNATION] ~= incarnation then return '0' .. expired end
state[SETTINGS_VERSION] = math.max(state[SETTINGS_VERSION], tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, unpack(state, 1, 8)))
redis.call('HSETNX', KEYS[1], 'cache_version', ARGV[3])
for i = 6, #ARGV, 3 do
  local field, outage = ARGV[i], {struct.unpack(AMOUNTS, ARGV[i + 2])}
  local known = redis.call('HMGET', KEYS[1], field, 'outage:' .. field)
  local window = {struct.unpack(WINDOW, known[1] or ARGV[i + 1] .. string.rep('\0', 24))}
  if known[1] then
    local charged = {struct.unpack(AMOUNTS, known[2] or string.rep('\0', 24))}
    for unit = REQUESTS, COST_NUSD do
      local uncharged = math.max(0, outage[unit] - charged[unit])
      window[USED + unit] = math.min(window[USED + unit] + uncharged, MOST)
      outage[unit] = charged[unit] + uncharged
    end
  end
  if known[1] or incarnation > 0 then
    redis.call('HDEL', KEYS[1], 'closed:' .. field)
    redis.call('HSET', KEYS[1], field, struct.pack(WINDOW, unpack(window, 1, 6)), 'outage:' .. field,
      struct.pack(AMOUNTS, unpack(outage, 1, 3)))
  end
end
local names = redis.call('HKEYS', KEYS[1])
for i = 1, #names do
  local window = string.match(names[i], '^outage:(.*)') or string.match(names[i], '^closed:(.*)') or names[i]
  local began, lineage = string.match(window, '^[dm](%d+)'), string.match(names[i], '^key:(.*)')
  if began and tonumber(began) + FORGET_AFTER_MS < now then redis.call('HDEL', KEYS[1], names[i]) end
  if lineage then
    local pace = key_paces().read(lineage)
    local latest_ms = math.max(pace[REQUEST_MS], pace[TOKEN_MS])
    if pace[KEY_OPEN_HOLDS] == 0 and latest_ms + FORGET_PACE_AFTER_MS < now then
      redis.call('HDEL', KEYS[1], names[i])
    end
  end
end
keep_for(tonumber(ARGV[5]))
return '1' .. expired
