-- Keeps a window that is missing closed until a time; one that is there, or closed already, stays as it is, and so does a
-- tenant of another epoch: it was lost since.
--
-- KEYS  1 tenant
-- ARGV  1 the window's field   2 until_ms   3 for how many ms the tenant is kept at least
--       4 the epoch
-- Answers 1.

local kept = redis.call('HMGET', KEYS[1], 's', ARGV[1])
if kept[1] and struct.unpack('<d', kept[1], EPOCH_AT) == tonumber(ARGV[4]) and not kept[2] then
  redis.call('HSETNX', KEYS[1], 'k:' .. ARGV[1], ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
end
return 1
