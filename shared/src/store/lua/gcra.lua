-- The generic cell rate algorithm, as src/gcra.rs has it; part of the scripts that take from a rate or correct it.
-- A rate is {limit, period_ms, capacity}, its limit 0 where there is none. Its state is an instant, in ms, and ticks of
-- 1/limit ms on top. All is done on the backlog, max(0, state - now) in ticks, whose numbers are whole and below 2^53 while
-- capacity * period_ms is; so nothing is rounded but what the caller is told.

local function backlog_of(rate, state, place, now)
  return math.max(0, (state[place] - now) * rate[1] + math.min(state[place + 1], rate[1] - 1))
end

local function set_backlog(rate, state, place, now, backlog)
  state[place], state[place + 1] = now + math.floor(backlog / rate[1]), backlog % rate[1]
end

-- Takes `units` of the rate whose state is at `place` of a tenant's, and answers nil; or answers the ms to wait. More than
-- a burst passes when the full burst is there.
local function wait_or_take(rate, state, place, now, units)
  local backlog = backlog_of(rate, state, place, now) + math.min(units, rate[3]) * rate[2]
  local excess = backlog - rate[3] * rate[2]
  if excess > 0 then return math.ceil(excess / rate[1]) end
  set_backlog(rate, state, place, now, backlog)
end

-- Takes `units` more, or gives back if there are less than none.
local function correct(rate, state, place, now, units)
  set_backlog(rate, state, place, now, math.max(0, backlog_of(rate, state, place, now) + units * rate[2]))
end

-- Units that would pass now, and ms until the full burst is there; -1 and -1 where there is no rate.
local function standing_of(rate, state, place, now)
  if rate[1] == 0 then return -1, -1 end
  local backlog = backlog_of(rate, state, place, now)
  return math.floor(math.max(0, rate[3] * rate[2] - backlog) / rate[2]), math.ceil(backlog / rate[1])
end
