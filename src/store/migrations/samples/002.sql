-- What a journal of format 2 looks like in use; tests migrate it to the newest format.
UPDATE meta SET value = '00112233aabbccdd' WHERE key = 'installation';
INSERT INTO apps VALUES ('api', 7, '{"phase":"steady"}', '["m-7"]', 1772330584000000);
INSERT INTO events (sequence, message_id, app, recorded_at, body) VALUES
  (3, 'm-7', 'api', 1772330584000000, '{"kind":"release.degraded","at":"2026-03-01T02:03:04Z","app":"api","release":{"version":42,"tag":"deployment-1","digest":"sha256:aa","author":null,"created_at":null},"known_good":null,"reason":null,"mode":"rollback","evidence":[{"threshold":"5xx","kind":"ratio","verdict":"breach","value":0.09,"limit":0.02,"source":"http_requests_total","bad":37.0,"total":410.0,"ln_odds":9.4,"ln_odds_needed":8.0,"blocks":3,"control":[5.0,1250.0],"note":null,"may_roll_back":true}],"regions":[{"region":"iad","phase":"waiting","machines":{"m1":"on target"}}],"after_s":14.0,"log_lines":["panic"]}'),
  (4, 'd-1', NULL, 1772330585000000, '{"kind":"config.reloaded","at":"2026-03-01T02:03:05Z","app":null,"release":null,"known_good":null,"reason":null,"mode":null,"evidence":[],"regions":[],"after_s":null,"log_lines":[]}');
INSERT INTO notes VALUES ('hold', '{}');
INSERT INTO outbox (sequence, receiver, message_id, body, queued_at, due_at, attempts, reason, given_up_at, lane, importance, size, failed_since) VALUES
  (5, 'ops', 'm-7', '{"kind":"config.reloaded","at":"2026-03-01T02:03:05Z","app":null,"release":null,"known_good":null,"reason":null,"mode":null,"evidence":[],"regions":[],"after_s":null,"log_lines":[]}', 1772330584000000, 1772330590000000, 2, 'answered 503', NULL, 'api', 2, 197, 1772330584000000),
  (6, 'old', 'm-6', '{}', 1772330000000000, 1772330000000000, 9, 'gone', 1772330100000000, NULL, 2, 2, NULL);
