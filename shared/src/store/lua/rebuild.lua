-- Learns a tenant's settings version, and what its windows had used according to the ledger. A newer version stays; of a
-- known window only what was admitted without the store, and is not charged yet, is charged. Windows that are long over
-- are forgotten. A tenant of another epoch than the one that asked for this, or of none, stays as it is: it was lost in
-- between, and what was read for it may lack what it has used since (M5).
--
-- KEYS  1 tenant
-- ARGV  1 now_ms   2 settings version   3 a generation for the cache, taken if there is none: with the one before, what
--         was remembered is lost to sight   4 the epoch, or 0: no window that is missing is begun
--       5 for how many ms the tenant is kept at least
--       6 …      for each window: its field; packed: used, and the part of it without the store: requests, tokens,
--                nano-US-dollar each
-- Answers 1 if the tenant is of the epoch, else 0; then "\nrequest r t c windows" of each lost hold.

local FORGET_AFTER_MS = 40 * 86400000
local now, named, lost = tonumber(ARGV[1]), tonumber(ARGV[4]), ''
local kept = redis.call('HGET', KEYS[1], 's')
if kept and struct.unpack('<d', kept, DUE_AT) <= now then
  lost = sweep(now)
  kept = redis.call('HGET', KEYS[1], 's')
end
local state = {struct.unpack(STATE, kept or NEW)}
if not kept or named > 0 and state[5] ~= named then return '0' .. lost end
state[8] = math.max(state[8], tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 's', struct.pack(STATE, unpack(state, 1, 8)))
redis.call('HSETNX', KEYS[1], 'g', ARGV[3])
for i = 6, #ARGV, 2 do
  local name, told = ARGV[i], {struct.unpack('<dddddd', ARGV[i + 1])}
  local known = redis.call('HMGET', KEYS[1], name, 'o:' .. name)
  local window = {struct.unpack(WINDOW, known[1] or string.sub(ARGV[i + 1], 1, 24) .. string.rep('\0', 24))}
  local outage = {told[4], told[5], told[6]}
  if known[1] then
    local charged = {struct.unpack('<ddd', known[2] or string.rep('\0', 24))}
    for unit = 1, 3 do
      window[unit] = math.min(window[unit] + math.max(0, outage[unit] - charged[unit]), MOST)
      outage[unit] = math.max(outage[unit], charged[unit])
    end
  end
  if known[1] or named > 0 then
    redis.call('HDEL', KEYS[1], 'k:' .. name)
    redis.call('HSET', KEYS[1], name, struct.pack(WINDOW, unpack(window, 1, 6)), 'o:' .. name,
      struct.pack('<ddd', unpack(outage)))
  end
end
local names = redis.call('HKEYS', KEYS[1])
for i = 1, #names do
  local began = string.match(names[i], '^o?k?:?[dm](%d+)$')
  if began and tonumber(began) + FORGET_AFTER_MS < now then redis.call('HDEL', KEYS[1], names[i]) end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return '1' .. lost
