-- Learns a tenant's settings version, and what its windows had used according to the ledger. A newer version stays; of a
-- known window only what was admitted without the store, and is not charged yet, is charged.
--
-- KEYS  1 settings   2 … windows
-- ARGV  1 settings version   2 a generation for the cache, taken if there is none: with the one before, what was
--         remembered is lost to sight
--       3 …      for each window: ttl_ms, then used and the part of it without the store: requests, tokens,
--                nano-US-dollar each
-- Answers 1.

local version = tonumber(redis.call('HGET', KEYS[1], 'v') or -1)
if tonumber(ARGV[1]) > version then redis.call('HSET', KEYS[1], 'v', ARGV[1]) end
redis.call('HSETNX', KEYS[1], 'g', ARGV[2])
redis.call('PEXPIRE', KEYS[1], 86400000)
for i = 2, #KEYS do
  local place = 3 + 7 * (i - 2)
  local window = read_window(i, '')
  local known = redis.call('HMGET', KEYS[i], 'or', 'ot', 'oc')
  local outage = {}
  for unit = 1, 3 do outage[unit] = tonumber(ARGV[place + 3 + unit]) end
  if window then
    for unit = 1, 3 do
      local charged = tonumber(known[unit]) or 0
      window[unit] = plus(window[unit], math.max(0, outage[unit] - charged))
      outage[unit] = math.max(outage[unit], charged)
    end
  else
    window = {0, 0, 0, 0, 0, 0, 0}
    for unit = 1, 3 do window[unit] = tonumber(ARGV[place + unit]) end
    redis.call('HDEL', KEYS[i], 'k')
  end
  write_window(i, window)
  redis.call('HSET', KEYS[i], 'or', outage[1], 'ot', outage[2], 'oc', outage[3])
  redis.call('PEXPIRE', KEYS[i], ARGV[place])
end
return 1
