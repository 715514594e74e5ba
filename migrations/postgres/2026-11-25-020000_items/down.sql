DROP TABLE cache_generations;
DROP TABLE items;
