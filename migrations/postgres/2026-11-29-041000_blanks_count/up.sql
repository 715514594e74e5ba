-- Only MariaDB passes over blanks at the end when it compares.
SELECT 1;
