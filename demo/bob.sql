-- A morning of bob, who only reads (as the account `readonly`).
SELECT city, count(*) FROM customer GROUP BY city ORDER BY city;
SELECT name FROM customer WHERE id = 2;
SELECT max(cents) FROM purchase;
