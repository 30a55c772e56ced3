-- Keeps a window that is missing closed until a time (M5); one that is there, or closed already, stays as it is, and so does a
-- tenant of another incarnation: it was lost since. See ADR 16.
--
-- KEYS  1 tenant
-- ARGV  1 the window's field   2 until_ms   3 for how many ms the tenant is kept at least   4 the incarnation
-- Returns 1.

local kept = redis.call('HMGET', KEYS[1], 'state', ARGV[1])
if read_state(kept[1])[INCARNATION] == tonumber(ARGV[4]) and not kept[2] then
  redis.call('HSETNX', KEYS[1], 'closed:' .. ARGV[1], ARGV[2])
  keep_for(tonumber(ARGV[3]))
end
return 1
