-- Leaves a tombstone, KEYS[2], of a request that is done with and may be sent again; prelude of the scripts that end one. See
-- ADR 10. (A hit that is counted has one, too, which says "hit".)

-- What comes of the request meanwhile, for `kept_ms`, changes nothing. A tenant that is not known is kept for as long. Answers
-- whether there was none before.
local function leave_tombstone(now, kept_ms)
  if not redis.call('SET', KEYS[2], 'done', 'PX', kept_ms, 'NX') then return false end
  local known_until = tonumber(redis.call('HGET', KEYS[1], 'tombstones_until') or 0)
  redis.call('HSET', KEYS[1], 'tombstones_until', math.max(now + kept_ms, known_until))
  keep_for(kept_ms)
  return true
end
