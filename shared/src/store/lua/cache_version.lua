-- Tells the generation of a tenant's remembered answers, after it has set one: every answer of another is lost to sight.
--
-- KEYS  1 tenant
-- ARGV  1 a generation: 16 random characters   2 "new" to take it in any case, "keep" to take it if there is none
--       3 for how many ms the tenant is kept at least
-- Answers the generation.

if ARGV[2] == 'new' then
  redis.call('HSET', KEYS[1], 'g', ARGV[1])
else
  redis.call('HSETNX', KEYS[1], 'g', ARGV[1])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return redis.call('HGET', KEYS[1], 'g')
