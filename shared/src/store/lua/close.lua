-- Keeps a window that is missing closed until a time; one that is there, or closed already, stays as it is.
--
-- KEYS  1 tenant
-- ARGV  1 the window's field   2 until_ms   3 for how many ms the tenant is kept at least
-- Answers 1.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  redis.call('HSETNX', KEYS[1], 'k:' .. ARGV[1], ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
end
return 1
