<?php

require __DIR__ . '/src/bootstrap.php';
require_once 'Symfony/Component/Console/autoload.php';

use Symfony\Component\Console\Helper\Table;

$app = new Symfony\Component\Console\Application('larder', '1.0');
$app->register('menu')->setDescription('All dishes')->setCode(function ($input, $output) {
    (new Table($output))->setHeaders(['dish', 'price'])->setRows([['gratin', '4.50'], ['soup', '3.00']])->render();
    return 0;
});
$app->run();
