-- Marks that a request is done with, for `kept_ms`: what comes of it meanwhile changes nothing. A tenant that is not known is
-- kept for as long. Answers whether it was not marked before.
local function mark(now, kept_ms)
  if not redis.call('SET', KEYS[2], 's', 'PX', kept_ms, 'NX') then return false end
  redis.call('HSET', KEYS[1], 'm', math.max(now + kept_ms, tonumber(redis.call('HGET', KEYS[1], 'm') or 0)))
  if redis.call('PTTL', KEYS[1]) < kept_ms then redis.call('PEXPIRE', KEYS[1], kept_ms) end
  return true
end
