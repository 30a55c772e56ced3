-- Tells the generation of a tenant's remembered answers, after it has set one: every answer of another is lost to sight.
--
-- KEYS  1 settings
-- ARGV  1 a generation: 16 random characters   2 "new" to take it in any case, "keep" to take it if there is none
-- Answers the generation.

if ARGV[2] == 'new' then
  redis.call('HSET', KEYS[1], 'g', ARGV[1])
else
  redis.call('HSETNX', KEYS[1], 'g', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return redis.call('HGET', KEYS[1], 'g')
