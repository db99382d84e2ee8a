<?php

namespace Larder;

final class App
{
    private const DISHES = ['gratin' => 4.5, 'soup' => 3.0, 'crème' => 6.25];
    private \Twig\Environment $twig;

    public function __construct()
    {
        $wanted = \Locale::acceptFromHttp($_SERVER['HTTP_ACCEPT_LANGUAGE'] ?? 'en') ?: 'en';
        $this->locale = str_starts_with($wanted, 'fr') ? 'fr_FR' : 'en_US';
        setlocale(LC_ALL, "{$this->locale}.UTF-8");
        bindtextdomain('larder', __DIR__ . '/../locale');
        textdomain('larder');
        $this->twig = new \Twig\Environment(new \Twig\Loader\FilesystemLoader(__DIR__ . '/../templates'), ['cache' => '/var/www/state/twig']);
        $this->twig->addFunction(new \Twig\TwigFunction('_', 'gettext'));
    }

    private string $locale;

    public function run(string $method, string $path): void
    {
        try {
            $this->answer($method, $path);
        } catch (\Throwable $error) {
            http_response_code(500);
            echo $this->twig->render('500.html', ['kind' => $error::class, 'text' => $error->getMessage()]);
        }
    }

    private function answer(string $method, string $path): void
    {
        switch (true) {
            case $path === '/':
                echo $this->twig->render('home.html', ['dishes' => self::DISHES]);
                return;
            case (bool) preg_match('#^/dish/(\w+)$#u', rawurldecode($path), $found) && isset(self::DISHES[$found[1]]):
                $money = new \NumberFormatter($this->locale, \NumberFormatter::CURRENCY);
                $day = new \IntlDateFormatter($this->locale, \IntlDateFormatter::FULL, \IntlDateFormatter::NONE, 'Europe/Paris');
                echo $this->twig->render('dish.html', ['name' => $found[1], 'price' => $money->formatCurrency(self::DISHES[$found[1]], 'EUR'), 'day' => $day->format(new \DateTime('2024-07-14'))]);
                return;
            case (bool) preg_match('#^/export/(\w+)$#', $path, $found) && class_exists($plugin = 'Larder\\Plugin\\' . ucfirst($found[1])):
                header('Content-Type: ' . $plugin::TYPE);
                echo (new $plugin())->write(self::DISHES);
                return;
            case $path === '/upload' && $method === 'POST':
                $text = mb_convert_encoding(file_get_contents($_FILES['file']['tmp_name']), 'UTF-8', $_POST['encoding']);
                header('Content-Type: application/json');
                echo json_encode(['characters' => mb_strlen($text), 'text' => $text, 'other' => iconv('UTF-8', 'ISO-8859-1//TRANSLIT', 'é') === "\xe9"], JSON_UNESCAPED_UNICODE);
                return;
            case $path === '/basket':
                session_start();
                if ($method === 'POST') {
                    $_SESSION['basket'][] = $_POST['dish'];
                }
                echo implode(', ', $_SESSION['basket'] ?? []);
                return;
            case $path === '/picture':
                $picture = imagecreatetruecolor(16, 16);
                header('Content-Type: image/png');
                imagepng($picture);
                return;
            case $path === '/base':
                $base = new \PDO('sqlite::memory:');
                $base->exec('create table dish (name text)');
                $base->prepare('insert into dish values (?)')->execute(['leek']);
                echo $base->query('select upper(name) from dish')->fetchColumn();
                return;
            case $path === '/clock':
                echo (new \DateTime('2024-07-01 12:00', new \DateTimeZone('UTC')))->setTimezone(new \DateTimeZone($_GET['zone']))->format('Y-m-d H:i T');
                return;
            case $path === '/sums':
                echo bcdiv('1', '7', 20), ' ', (new \Collator('fr_FR'))->compare('é', 'f'), ' ', idn_to_ascii('bücher.example'), ' ', password_verify('x', password_hash('x', PASSWORD_ARGON2ID)) ? 'yes' : 'no', ' ', \Normalizer::normalize("e\u{301}") === 'é' ? 'same' : 'other';
                return;
            case $path === '/log':
                require_once 'Monolog/autoload.php';
                $log = new \Monolog\Logger('larder');
                $log->pushHandler($handler = new \Monolog\Handler\TestHandler());
                $log->warning('leek');
                echo $handler->getRecords()[0]['message'], ' ', $log->getName();
                return;
            case $path === '/boom':
                throw new \RuntimeException('the oven is on fire');
        }
        http_response_code(404);
        echo $this->twig->render('404.html', ['path' => $path]);
    }
}
