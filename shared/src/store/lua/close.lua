-- Keeps a window that is missing closed until a time; one that is there, or closed already, stays as it is.
--
-- KEYS  1 window
-- ARGV  1 until_ms   2 ttl_ms
-- Answers 1.

if redis.call('HEXISTS', KEYS[1], 'ur') == 0 then
  redis.call('HSETNX', KEYS[1], 'k', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
