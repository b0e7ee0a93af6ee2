-- A morning of alice, who looks after the database (as the account `app`).
-- Eleven statements: eleven events `sql.statement`, no more and no less.
SELECT count(*) AS customers FROM customer;
INSERT INTO customer VALUES (4, 'Alan', 'Wilmslow');
UPDATE customer SET city = 'Arlington' WHERE name = 'Grace';

BEGIN;
INSERT INTO purchase (customer, article, cents) VALUES (4, 'paper tape', 300);
UPDATE purchase SET cents = 250 WHERE article = 'relay';
COMMIT;

BEGIN;
DELETE FROM purchase;
ROLLBACK;

SELECT name, city, sum(cents) AS cents FROM customer JOIN purchase ON customer = customer.id
GROUP BY customer.id ORDER BY name;
