-- Raises a hold where it is less than a target, if the quotas have that much left.
--
-- KEYS  1 …      windows of the request
-- ARGV  1 request   2 … 4 target: requests, tokens, nano-US-dollar
--       5 …      for each window the most requests, tokens, nano-US-dollar, or ''
-- Answers 1 if the hold covers the target now, else 0.

local id, windows, held = ARGV[1], {}, nil
for i = 1, #KEYS do
  windows[i] = read_window(i, id)
  if windows[i] and windows[i].hold and not held then
    local _, amounts = parse_hold(windows[i].hold)
    held = amounts
  end
end
if not held then return 0 end
local more = {}
for unit = 1, 3 do more[unit] = math.max(0, tonumber(ARGV[1 + unit]) - held[unit]) end
if exhausted(windows, #KEYS, 5, more) then return 0 end
for i = 1, #KEYS do
  local window = windows[i]
  if window and window.hold then
    local lease, amounts, names, standing = parse_hold(window.hold)
    for unit = 1, 3 do
      window[3 + unit] = plus(window[3 + unit], more[unit])
      amounts[unit] = plus(amounts[unit], more[unit])
    end
    write_window(i, window, 'h:' .. id, string.format(
      '%d %d %d %d %s %s', lease, amounts[1], amounts[2], amounts[3], names, standing))
  end
end
return 1
