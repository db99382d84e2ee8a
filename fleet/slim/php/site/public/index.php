<?php

declare(strict_types=1);

require __DIR__ . '/../src/bootstrap.php';

(new Larder\App())->run($_SERVER['REQUEST_METHOD'], parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
