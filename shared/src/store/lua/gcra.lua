-- The generic cell rate algorithm, as src/gcra.rs has it; part of the scripts that take from a rate or correct it.
-- A rate is {limit, period_ms, capacity}, or nil where there is none. Its state is {ms, ticks}: an instant, and ticks of
-- 1/limit ms on top. All is done on the backlog, max(0, state - now) in ticks, whose numbers are whole and below 2^53 while
-- capacity * period_ms is; so nothing is rounded but what the caller is told.

local function rate_at(place)
  if ARGV[place] == '' then return nil end
  return {tonumber(ARGV[place]), tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])}
end

local function backlog_of(rate, tat, now)
  return math.max(0, (tat[1] - now) * rate[1] + math.min(tat[2], rate[1] - 1))
end

local function tat_of(rate, now, backlog)
  return {now + math.floor(backlog / rate[1]), backlog % rate[1]}
end

-- The state after `units` are taken; or nil, and the ms to wait. More than a burst passes when the full burst is there.
local function take(rate, tat, now, units)
  local backlog = backlog_of(rate, tat, now) + math.min(units, rate[3]) * rate[2]
  local excess = backlog - rate[3] * rate[2]
  if excess > 0 then return nil, math.ceil(excess / rate[1]) end
  return tat_of(rate, now, backlog)
end

-- The state after `units` more are taken, or less than none given back.
local function correct(rate, tat, now, units)
  return tat_of(rate, now, math.max(0, backlog_of(rate, tat, now) + units * rate[2]))
end

-- Units that would pass now, and ms until the full burst is there; -1 and -1 where there is no rate.
local function standing_of(rate, tat, now)
  if not rate then return -1, -1 end
  local backlog = backlog_of(rate, tat, now)
  return math.floor(math.max(0, rate[3] * rate[2] - backlog) / rate[2]), math.ceil(backlog / rate[1])
end

-- From a tenant's settings, the hash KEYS[1]: the states of its two rates, its settings version, its cache's generation.
local function read_settings()
  local kept = redis.call('HMGET', KEYS[1], 'rm', 'rt', 'tm', 'tt', 'v', 'g')
  local function number(place) return tonumber(kept[place]) or 0 end
  return {number(1), number(2)}, {number(3), number(4)}, kept[5], kept[6] or ''
end

local function write_tats(requests, tokens)
  redis.call('HSET', KEYS[1], 'rm', requests[1], 'rt', requests[2], 'tm', tokens[1], 'tt', tokens[2])
end
