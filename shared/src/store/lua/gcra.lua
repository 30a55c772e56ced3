-- The generic cell rate algorithm, as src/gcra.rs has it; part of the scripts that take from a rate or correct it.
-- A rate is {limit, period_ms, capacity}, or nil where there is none. Its state is an instant, in ms, and ticks of 1/limit
-- ms on top. All is done on the backlog, max(0, state - now) in ticks, whose numbers are whole and below 2^53 while
-- capacity * period_ms is; so nothing is rounded but what the caller is told.

local function rate_at(place)
  if ARGV[place] == '' then return nil end
  return {tonumber(ARGV[place]), tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])}
end

local function backlog_of(rate, ms, ticks, now)
  return math.max(0, (ms - now) * rate[1] + math.min(ticks, rate[1] - 1))
end

local function tat_of(rate, now, backlog)
  return now + math.floor(backlog / rate[1]), backlog % rate[1]
end

-- Of the rate whose state is at `place` of a tenant's state: takes `units`, and answers nil; or answers the ms to wait.
-- More than a burst passes when the full burst is there.
local function wait_or_take(rate, state, place, now, units)
  local backlog = backlog_of(rate, state[place], state[place + 1], now) + math.min(units, rate[3]) * rate[2]
  local excess = backlog - rate[3] * rate[2]
  if excess > 0 then return math.ceil(excess / rate[1]) end
  state[place], state[place + 1] = tat_of(rate, now, backlog)
end

-- Takes `units` more, or gives back if there are less than none.
local function correct(rate, state, place, now, units)
  local backlog = backlog_of(rate, state[place], state[place + 1], now) + units * rate[2]
  state[place], state[place + 1] = tat_of(rate, now, math.max(0, backlog))
end

-- Units that would pass now, and ms until the full burst is there; -1 and -1 where there is no rate.
local function standing_of(rate, state, place, now)
  if not rate then return -1, -1 end
  local backlog = backlog_of(rate, state[place], state[place + 1], now)
  return math.floor(math.max(0, rate[3] * rate[2] - backlog) / rate[2]), math.ceil(backlog / rate[1])
end
