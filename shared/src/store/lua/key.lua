-- The rates and places in flight that keys have of their own; prelude of the scripts that admit requests, end them and look at
-- what they hold. See ADR 49.
--
-- A script gets a key's limits as one argument, empty for a key that has none: a number, a RATE of requests, a RATE of tokens,
-- then the key's lineage. The number is the concurrency of an admission; where a request ends, what it takes more from the rate
-- of tokens, or gives back if that is below 0.

-- Makes the functions that read and write them, of which a request without such a key needs none: Lua makes a function anew at
-- each call of a script (ADR 9).
local function key_paces()
  local NUMBER_BYTES, RATE_BYTES = 8, 24
  local paces = {}

  -- How those of a lineage stand: the places of a PACE, and by name the field.
  function paces.read(lineage)
    local field = 'key:' .. lineage
    local packed = redis.call('HGET', KEYS[1], field)
    local pace = packed and {struct.unpack(PACE, packed)} or {0, 0, 0, 0, 0}
    pace.field = field
    return pace
  end

  function paces.write(pace)
    redis.call('HSET', KEYS[1], pace.field, struct.pack(PACE, unpack(pace, 1, 5)))
  end

  -- The same of the key that an argument is of, with its limits by name.
  function paces.of(argument)
    local requests, tokens = NUMBER_BYTES + 1, NUMBER_BYTES + RATE_BYTES + 1
    local pace = paces.read(string.sub(argument, tokens + RATE_BYTES))
    pace.number = struct.unpack('<d', argument)
    pace.request_rate, pace.token_rate = string.sub(argument, requests, tokens - 1), string.sub(argument, tokens, tokens + RATE_BYTES - 1)
    return pace
  end

  -- Frees the place that a hold has among the keys' own, by what follows the HOLD.
  function paces.leave(names)
    local pace = paces.read(string.match(names, '/(%x+)$'))
    pace[KEY_OPEN_HOLDS] = math.max(0, pace[KEY_OPEN_HOLDS] - 1)
    paces.write(pace)
  end

  -- Corrects the rates as a request ends, by so many requests and by the number of tokens; its place is free if it had one.
  function paces.correct(argument, now_ms, requests, had_place)
    local pace = paces.of(argument)
    pace[REQUEST_MS], pace[REQUEST_TICKS] =
      correct(pace.request_rate, pace[REQUEST_MS], pace[REQUEST_TICKS], now_ms, requests)
    pace[TOKEN_MS], pace[TOKEN_TICKS] = correct(pace.token_rate, pace[TOKEN_MS], pace[TOKEN_TICKS], now_ms, pace.number)
    if had_place then pace[KEY_OPEN_HOLDS] = math.max(0, pace[KEY_OPEN_HOLDS] - 1) end
    paces.write(pace)
  end

  return paces
end
