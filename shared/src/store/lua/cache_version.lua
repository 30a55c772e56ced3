-- Tells the version of a tenant's remembered answers, after it has set one: every answer of another is lost to sight. See ADR
-- 9, and redis/cache.rs.
--
-- KEYS  1 tenant
-- ARGV  1 a version: 16 random characters   2 "new" to take it in any case, "keep" to take it if there is none
--       3 for how many ms the tenant is kept at least
-- Returns the version.

if ARGV[2] == 'new' then
  redis.call('HSET', KEYS[1], 'cache_version', ARGV[1])
else
  redis.call('HSETNX', KEYS[1], 'cache_version', ARGV[1])
end
keep_for(tonumber(ARGV[3]))
return redis.call('HGET', KEYS[1], 'cache_version')
